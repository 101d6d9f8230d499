import subprocess
import sys


def test_dashboards_needs_neither_torch_nor_ray_nor_mlflow() -> None:
    code = (
        "import sys, dashboards; "
        "print(*sorted({'torch', 'ray', 'mlflow', 'trials', 'orchestrator', 'matplotlib'}"
        " & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == ""
