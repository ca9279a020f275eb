"""At the microscope: micrographs in, verdicts out."""
