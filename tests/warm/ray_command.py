"""`ray ...`, whose Python processes are forked: LAUNCHER ray_command.py LAUNCHER start ...

Its own process is forked as well, so that it starts with what Ray imports of others.
"""

import os
import sys

from ray.scripts.scripts import main

os.environ.setdefault("LD_PRELOAD", "")  # else Ray names an allocator, which a fork cannot load

sys.executable = sys.argv.pop(1)
sys.argv[0] = "ray"
main()
