"""The Python API: `import passband as pb`. Paths are str or Path, images NumPy arrays, signals, files or micrographs.

    import passband as pb

    train = pb.Condition.preset("titan_corrected_300kv")
    today = train.varied(defocus=80, C12=30)
    pb.compare(train, today)

Lengths are in Å, spatial frequencies in 1/Å, energies in eV, angles in rad or mrad, doses in e/Å²; a parameter's name ends in its
unit. Bad input raises `BadInputError`, a ValueError with the fields value, limit, remedy and place.
"""
