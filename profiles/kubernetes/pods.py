"""Snakemake calls kubectl by this: `pods.py submit JOBSCRIPT` prints a job's name, `pods.py status NAME` its state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).with_name("pod.yaml")
# A pod's end is told to its first process alone. This one tells the others, and stays until the job's script ends.
COMMAND = """\
trap 'trap "" TERM; kill -TERM 0' TERM
(trap '' TERM; exec /bin/sh "$0") &
wait $!; status=$?
while kill -0 $! 2>/dev/null; do wait $!; status=$?; done
exit $status
"""


def job(jobscript: Path, folder: Path) -> dict[str, Any]:
    """The Kubernetes job that carries out a job script of Snakemake.

    Args:
        jobscript: Its second line holds the job's properties.
        folder: Where it works, on the volume that all pods share.
    """
    prefix = "# properties = "
    line = next(line for line in jobscript.read_text().splitlines() if line.startswith(prefix))
    properties = json.loads(line.removeprefix(prefix))
    asked = properties["resources"]
    content: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())
    content["metadata"].setdefault("annotations", {})["edgebench/rule"] = properties["rule"]
    pod = content["spec"]["template"]["spec"]
    pod["activeDeadlineSeconds"] = asked["runtime"] * 60  # a pod's count begins when it has a node, a job's before
    if asked.get("machine_type"):
        pod.setdefault("nodeSelector", {})["node.kubernetes.io/instance-type"] = asked["machine_type"]
    container = pod["containers"][0]
    container |= {"command": ["/bin/sh", "-c", COMMAND, str(jobscript.resolve())], "workingDir": str(folder)}
    amounts = {"cpu": str(properties["threads"]), "memory": f"{asked['mem_mb']}Mi"}
    if asked.get("gpu"):
        amounts["nvidia.com/gpu"] = str(asked["gpu"])
    container["resources"] = {"requests": amounts, "limits": dict(amounts)}
    return content


def kubectl(*arguments: str, text: str | None = None) -> str | None:
    """What kubectl prints; None where it could not do it, which it says itself."""
    done = subprocess.run(["kubectl", *arguments], input=text, stdout=subprocess.PIPE, text=True)
    return None if done.returncode else done.stdout.strip()


def status(name: str) -> str:
    """`running`, `success` or `failed`; a job that is gone has failed."""
    answer = kubectl("get", name, "--ignore-not-found", "-o", "json")
    if answer is None:  # the server did not answer this time, which would end the whole workflow
        return "running"
    if not answer:
        return "failed"
    conditions = json.loads(answer).get("status", {}).get("conditions") or []
    true = {each["type"] for each in conditions if each["status"] == "True"}
    return "success" if "Complete" in true else "failed" if "Failed" in true else "running"


if __name__ == "__main__":
    what, given = sys.argv[1:]
    if what == "submit":
        name = kubectl("create", "-o", "name", "-f", "-", text=json.dumps(job(Path(given), Path.cwd())))
        if name is None:
            sys.exit("The pod was not created.")
        print(name)
    else:
        print(status(given))
