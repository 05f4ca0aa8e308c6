"""Models of tables by name, and from files that hold one of any kind."""

from __future__ import annotations

import os
from typing import Any

from fastload.errors import StateError
from fastload.synth.autoregressive import TableAutoregressor
from fastload.synth.saved import load
from fastload.synth.table_gan import TableGAN
from fastload.synth.table_vae import TableVAE
from fastload.synth.tables import TableSynthesizer

METHODS = {"autoregressive": TableAutoregressor, "gan": TableGAN, "vae": TableVAE}


def load_synthesizer(path: str | os.PathLike[str], **arguments: Any) -> TableSynthesizer:
    """The model of a table that a file holds, of whichever kind it is.

    Parameters
    ----------
    path, arguments
        As of `Trainer.load`.

    Raises
    ------
    FormatError
        The file is damaged.
    StateError
        It holds something else.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> path = tempfile.mkdtemp() + "/model.synth"
    >>> TableVAE(batch_size=50, max_steps=2).fit({"x": np.arange(100.0)}).save(path)
    >>> type(load_synthesizer(path)).__name__
    'TableVAE'
    """
    kinds = {kind.__name__: kind for kind in METHODS.values()}
    saved = load(path)
    found = saved.get("kind") if isinstance(saved, dict) else None
    if found not in kinds:
        raise StateError(
            f"'{path}' must hold one of {', '.join(kinds)}, and holds {f'a {found}' if found else 'something else'}"
        )
    return kinds[found].load(path, **arguments)
