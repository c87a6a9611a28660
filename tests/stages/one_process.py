"""One of the processes that `launch_command` starts; killed at its n-th batch where asked."""

import os
import signal


def kill_at(n):
    """Kill this process when the rows of its n-th batch are on disk and their record is not."""
    from mindeye2.core import partial_arrays

    write, left = partial_arrays.write_json, iter(range(1, 1000))

    def writing(path, value):
        if path.name != "key.json" and next(left) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, value)

    partial_arrays.write_json = writing


if __name__ == "__main__":
    if os.environ["RANK"] == os.environ.get("KILLED_RANK"):
        kill_at(int(os.environ["KILLED_AT"]))
    from mindeye2.cli import main

    main()
