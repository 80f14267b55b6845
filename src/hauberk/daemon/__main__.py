"""`python -m hauberk.daemon`, and the program `hauberkd`."""

from hauberk.daemon.command import hauberkd


def main() -> None:
    hauberkd()


if __name__ == "__main__":
    main()
