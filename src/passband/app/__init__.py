"""The local page of `passband app`: live optics, the verdict on a micrograph, a study to browse. Only this room imports Panel."""
