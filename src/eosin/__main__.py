"""`python -m eosin`, where the command `eosin` is not on the path."""

from eosin.cli.main import run

if __name__ == "__main__":
    run()
