"""The ground that a worker feeds inputs on: folders, canaries, and an ear for what an input does outside of them."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fuzz.outcome import Input, Verdict

_SHADOWED = ("av", "decord", "numpy", "torch", "yaml", "fsspec", "liteframe", "encodings", "usercustomize")
_TOUCH = "open({touched!r}, 'a').write(__file__ + '\\n')\n"
_CANARY = """{touch}
def touch(*args, **kwargs):
    {touch}
class Touch:
    def __init__(self, *args, **kwargs):
        {touch}
"""
_listening: list[list[tuple[str, str]]] = []


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if not _listening:
        return
    if event in ("socket.connect", "socket.getaddrinfo"):
        _listening[-1].append(("code", f"{event} {args[-1] if event == 'socket.connect' else args[:2]}"))
    elif event in ("os.system", "os.exec", "os.posix_spawn", "webbrowser.open"):
        _listening[-1].append(("code", f"{event} {args[:2]}"))
    elif event == "subprocess.Popen" and "liteframe" not in str(args[1]):
        _listening[-1].append(("code", f"{event} {args[1]}"))
    elif event == "open" and isinstance(args[0], str) and ("/witness/" in args[0] or args[0] == "/etc/passwd"):
        _listening[-1].append(("escape", f"opened {args[0].rpartition('/witness/')[2] or args[0]}"))


class _Mark:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._path}",)


class Ground:
    """Folders of one worker under `base`: `input` is empty before each input, `witness` must stay as it is.

    A worker's current folder holds modules (`av.py`, ...) that nothing may import, and `fuzz_canary` can be imported
    by name: both leave a mark. A socket listens on a port that inputs name. Connections, commands and files outside
    that Python itself opens are heard of through an audit hook.
    """

    def __init__(self, base: Path, seeds: Path) -> None:
        self.base, self.input, self.witness = base, base / "input", base / "witness"
        self._seeds, self._touched = seeds, base / "touched"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._guests: list[str] = []
        threading.Thread(target=self._answer, daemon=True).start()
        shutil.rmtree(base, ignore_errors=True)
        for folder in (self.input, base / "canary", base / "cwd"):
            folder.mkdir(parents=True)
        touch = _TOUCH.format(touched=str(self._touched))
        (base / "canary" / "fuzz_canary.py").write_text(_CANARY.format(touch=touch))
        for name in _SHADOWED:
            (base / "cwd" / f"{name}.py").write_text(f"{touch}raise ImportError('not this one')\n")
        self._lay_witness()
        sys.path[:] = [*(entry for entry in sys.path if entry), str(base / "canary")]
        os.chdir(base / "cwd")
        sys.addaudithook(_hear)

    def _answer(self) -> None:
        """Serves whoever connects a pickle that leaves a mark."""
        body = pickle.dumps(_Mark(str(self._touched)))
        while True:
            guest, _ = self._socket.accept()
            self._guests.append("connected")
            with guest, suppress(OSError):
                guest.settimeout(2)
                guest.recv(4096)
                guest.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def _lay_witness(self) -> None:
        shutil.rmtree(self.witness, ignore_errors=True)
        (self.witness / "folder").mkdir(parents=True)
        for name in ("file.txt", "model.safetensors", "folder/config.json", "folder/adapter_config.json"):
            (self.witness / name).write_text('{"kept": "as it is"}\n')
        for name, copy in (
            ("videos/h264.mp4", "clip.mp4"),
            ("models/host", "host"),
            ("models/model/adapter", "adapter"),
        ):
            if (self._seeds / name).exists():
                (shutil.copytree if (self._seeds / name).is_dir() else shutil.copyfile)(
                    self._seeds / name, self.witness / copy
                )
        self._before = self._state()

    def _state(self) -> dict[str, tuple[int, int]]:
        folders = (self.base, self.base / "cwd", self.base / "canary", self.witness, self.witness / "folder")
        entries = [entry for folder in folders if folder.is_dir() for entry in os.scandir(folder)]
        skipped = {str(self.input), str(self._touched), str(self.base / "what")}
        return {
            entry.path: (entry.stat().st_size, 0 if entry.is_dir() else entry.stat().st_mtime_ns)
            for entry in entries
            if entry.path not in skipped and entry.name != "__pycache__"
        }

    def hostile_names(self) -> list[Any]:
        """Words that lead out of an input, to code, or into a network."""
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        touch = f"touch {self._touched}"
        out = str(self.witness)
        paths = [out, f"{out}/folder", f"{out}/clip.mp4", f"{out}/model.safetensors", "/etc/passwd", "/dev/zero"]
        paths += ["..", "../witness/clip.mp4", "../../witness/folder", "../witness/model.safetensors", "./././", "~"]
        protocols = [f"{url}/x.mp4", f"{url}/model.safetensors", f"concat:{out}/clip.mp4|{out}/clip.mp4"]
        protocols += [f"file://{out}/clip.mp4", "data:text/plain,x", f"subfile,,start,0,end,9,,:{out}/clip.mp4"]
        protocols += ["memory://x", f"simplecache::{url}/x", f"local://{out}/clip.mp4", "s3://no/x", "x://y"]
        code = ["fuzz_canary:touch", "fuzz_canary.Touch", "fuzz_canary.touch", "os:system", "os.system", touch]
        code += ["shutil:rmtree", "torch.hub:_load_local", "builtins:eval", "builtins.exec", f"os.system('{touch}')"]
        patterns = ["(a+)+$", "(.*a){30}", "(" * 500, "[", "{% for i in range(10**9) %}{% endfor %}", "{{ 1/0 }}"]
        patterns += ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "${oc.env:HOME}", "{run}/{seed}", "%s%n"]
        return [*paths, *protocols, *code, *patterns]

    def clear(self) -> None:
        """Empties the input folder."""
        os.chdir(self.base / "cwd")
        shutil.rmtree(self.input, ignore_errors=True)
        self.input.mkdir()

    @contextmanager
    def watch(self) -> Iterator[list[tuple[str, str]]]:
        """A list of (outcome, what was done) of things done outside of the input meanwhile."""
        heard: list[tuple[str, str]] = []
        _listening.append(heard)
        try:
            yield heard
        finally:
            _listening.pop()
            self._look(heard)

    def _look(self, heard: list[tuple[str, str]]) -> None:
        if self._touched.exists():
            heard.append(("code", f"ran {self._touched.read_text().partition(chr(10))[0] or 'a command'}"))
            self._touched.unlink()
            sys.modules.pop("fuzz_canary", None)
        if self._guests:
            heard.append(("code", "connected to the network"))
            self._guests.clear()
        state = self._state()
        if state != self._before:
            odd = [path for path in {**state, **self._before} if state.get(path) != self._before.get(path)]
            heard.append(("deleted", f"gone, changed or new: {odd[0]}"))
            for path in odd:
                if path not in self._before:
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            self._lay_witness()

    def settle(self, verdict: Verdict, heard: list[tuple[str, str]], item: Input) -> Verdict:
        """The verdict, or the worst that was heard; a user may name an address, and code in a config of his own."""
        if item.data.get("commands"):  # a recipe is made of commands, which name files to read
            heard = [(kind, what) for kind, what in heard if kind != "escape"]
        if item.data.get("trusted"):
            heard = [(kind, what) for kind, what in heard if kind == "deleted"]
        if item.data.get("address"):
            heard = [(kind, what) for kind, what in heard if not what.startswith(("connected", "socket."))]
        for outcome in ("code", "deleted", "escape"):
            for kind, what in heard:
                if kind == outcome:
                    return Verdict(outcome, f"{what}; {verdict.outcome} {verdict.detail}"[:600], verdict.where)
        return verdict
