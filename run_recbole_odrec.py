"""RecBole-style entry: python run_recbole_odrec.py --model=ODRec --dataset=ml-100k"""

import sys

from recbole_odrec.cli import main

if __name__ == "__main__":
    sys.exit(main())
