"""`python -m passband` is the command `passband`."""

from passband.cli.main import main

if __name__ == "__main__":
    main()
