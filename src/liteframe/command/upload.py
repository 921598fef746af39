"""``liteframe upload``."""

from __future__ import annotations

from pathlib import Path

from liteframe.errors import ConfigError


def upload_command(folder: str, address: str) -> int:
    """Copy a finished feature store, a model folder or a run to a bucket, from where other commands read it.

    Files are copied whole, those that say that the rest is complete come last, and nothing that lies there is
    replaced or removed. Run again after anything, it copies what is missing.

    Args:
        folder: that the cache stage or `liteframe export` wrote, or a run folder.
        address: of a folder in a bucket, such as s3://bucket/store, that holds nothing else.
    """
    from liteframe.data.remote.file import is_url
    from liteframe.data.remote.upload import upload_folder
    from liteframe.data.store.index import is_complete
    from liteframe.system.progress import Meter
    from liteframe.system.shown_url import shown_url

    source = Path(folder)
    if not source.is_dir():
        raise ConfigError(f"{folder}: no such folder; give a feature store, a model folder or a run")
    if not is_url(address):
        raise ConfigError(f"{address}: is no address; give one such as s3://bucket/store")
    if (source / "key.json").is_file() and not is_complete(source):
        raise ConfigError(f"{folder}: the feature store is not finished; run the cache stage again, then upload it")
    with Meter(f"copying {source.name}", unit="B") as meter:
        files, size = upload_folder(source, address, meter.update)
    print(f"copied {files:,} files ({size / 1e9:.3g} GB) to {shown_url(address)}")
    return 0
