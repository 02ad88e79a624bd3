"""Stands in for kubectl: a pod is a process here, of its own group as in a container.

What is created lies as `NAME.json` in $PODS, with the pod's number in `NAME.pid`, its status in `NAME.status`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

pods = Path(os.environ["PODS"])
what, *arguments = sys.argv[1:]
if what == "create":
    job = json.load(sys.stdin)
    name = f"{job['metadata']['generateName']}{len(list(pods.glob('*.json')))}"
    (pods / f"{name}.json").write_text(json.dumps(job))
    container = job["spec"]["template"]["spec"]["containers"][0]
    watch = 'pid=$1; shift; "$@"& echo $! > "$pid.pid"; wait $!; echo $? > "$pid.status"'
    subprocess.Popen(
        ["setsid", "sh", "-c", watch, "sh", str(pods / name), "setsid", *container["command"]],
        cwd=container["workingDir"],
        stdin=subprocess.DEVNULL,
        stdout=(pods / f"{name}.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    print(f"job.batch/{name}")
elif what == "get":
    name = arguments[0].removeprefix("job.batch/")
    file = pods / f"{name}.status"
    ended = file.exists() and file.read_text().strip()
    conditions = [{"type": "Complete" if ended == "0" else "Failed", "status": "True"}] if ended else []
    print(json.dumps({"status": {"conditions": conditions}}))
elif what == "delete":
    for name in arguments:
        if name.startswith("job.batch/"):
            os.kill(int((pods / f"{name.removeprefix('job.batch/')}.pid").read_text()), signal.SIGTERM)
else:
    sys.exit(f"kubectl {what} is not known here")
