"""The local page of `passband app`: optics live, a micrograph's verdict, a study to browse. Panel is imported here alone."""
