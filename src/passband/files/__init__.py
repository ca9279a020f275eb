"""Files that are whole or absent, strict YAML, Parquet tables, finished markers."""
