"""Run the command line as ``python -m ptft``, which is what ``accelerate launch -m ptft`` and torchrun start."""

from ptft.cli import main

if __name__ == "__main__":
    main()
