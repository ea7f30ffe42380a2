import sys
from bench import scale
scale.run(quick="--quick" in sys.argv)
