# Sourced in every container under `set -ex`: installs what the image lacks, names no secret, leaves nothing behind.
( { set +x; } 2>/dev/null # the trial's log shows what is installed, not every line of this
  # The image's own torch, numpy and the rest fit each other: pip may add beside them, never replace them.
  wheels=${SAMESPACE_WHEELS:-/wheels} # for agents without network: bind a folder of wheels here
  lacking=$(
    python3 - <<'EOF_PYTHON'
from importlib.util import find_spec
from os import environ, path
needs = {"imagehash": "ImageHash>=4.3", "safetensors": "safetensors>=0.4", "filelock": "filelock", "tqdm": "tqdm"}
needs |= {"threadpoolctl": "threadpoolctl>=3"}
needs |= {"yaml": "PyYAML", "matplotlib": "matplotlib", "cv2": "opencv-python-headless>=4.8"}
logins = ["kaggle.json", path.expanduser("~/.kaggle/kaggle.json")]  # looked for, never read
login = "KAGGLE_KEY" in environ or "kaggle_key" in environ.get("DET_EXPERIMENT_CONFIG", "")
if not path.isdir("/samespace/data/Airbnb Data") and (login or any(map(path.isfile, logins))):
    needs["kaggle"] = "kaggle>=1.6,<1.8"  # only to download: version 2 needs Python 3.11
print(*(need for module, need in needs.items() if find_spec(module) is None))
EOF_PYTHON
  )
  if [ -n "$lacking" ]; then
    echo "installing what the image lacks: $lacking"
    pins=$(mktemp)
    python3 -m pip list --format=freeze | grep -E '^[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+$' >"$pins"
    options=(--quiet --constraint "$pins")
    if [ -d "$wheels" ]; then options+=(--no-index --find-links "$wheels"); fi
    python3 -m pip install "${options[@]}" $lacking # unquoted: one word each
    rm "$pins"
  fi
)
