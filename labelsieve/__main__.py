"""python -m labelsieve"""

from labelsieve.cli.app import main

main()
