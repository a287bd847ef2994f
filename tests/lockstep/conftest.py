"""The toy adapter is imported by plain name, as the regression tests written for it do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
