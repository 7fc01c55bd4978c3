"""A machine that is thrown away: /etc, /usr and /var under an overlay, a /run and a network of its own."""

import subprocess


def run(*command):
    subprocess.run([str(it) for it in command], check=True, timeout=60)


def throwaway(upper):
    """Mounts below `upper`, which must not exist; nobody outside of this namespace sees them, and they end with it."""
    upper.mkdir()
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "tmpfs", upper)
    for name in ("etc", "usr", "var"):
        for part in ("upper", "work"):
            (upper / name / part).mkdir(parents=True)
        options = f"lowerdir=/{name},upperdir={upper}/{name}/upper,workdir={upper}/{name}/work"
        run("mount", "-t", "overlay", "overlay", "-o", options, f"/{name}")
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    run("ip", "link", "set", "lo", "up")
