"""What processor time depends on: set before anything is imported, here and in all processes that tests start."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # threads cost more than small tensors gain by them
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # or each process compiles torch and Lightning anew
    sys.dont_write_bytecode = False
