"""What arrived, for reading: each item as a file of its own (1, 2, …) and on standard output."""

import pathlib
import textwrap


class Arrivals:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.count = 0

    def add(self, title, text):
        self.count += 1
        part = self.folder / "part"
        part.write_text(text + "\n", encoding="utf-8")
        part.rename(self.folder / str(self.count))  # whoever sees the file sees all of it
        print(f"\n  {title}\n\n" + textwrap.indent(text, "    "), flush=True)
