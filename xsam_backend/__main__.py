"""``python -m xsam_backend``."""

from xsam_backend.cli import main

if __name__ == "__main__":
    main()
