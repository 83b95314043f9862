"""The file that Google's launcher starts; in a folder of its own, so that nothing beside it hides a
module of Python's."""

import sys

from pipelines.dataflow.launch import main

sys.exit(main())
