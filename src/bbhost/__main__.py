"""``python -m bbhost``: the ``bbhost`` program, where its script is not at hand."""

from bbhost.cli.main import main

if __name__ == "__main__":
    main()
