"""Writes the files of a folder as a C table of es_http_asset: embed_assets.py FOLDER OUT.c"""
import hashlib
import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


def paths_of(name):
    return ["/", "/index.html"] if name == "index.html" else ["/" + name]


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in TYPES) if folder.is_dir() else []
    lines = ['#include "http/http.h"', ""]
    rows = []
    for number, path in enumerate(files):
        data = path.read_bytes()
        etag = hashlib.sha256(data).hexdigest()[:16]
        numbers = ",".join(str(byte) for byte in data) or "0"
        lines.append(f"static const unsigned char FILE_{number}[] = {{{numbers}}};")
        for name in paths_of(path.relative_to(folder).as_posix()):
            rows.append(f'    {{"{name}", "{TYPES[path.suffix]}", "\\"{etag}\\"", FILE_{number}, {len(data)}}},')
    # C has no empty table: a last row that is not counted ends it.
    lines += ["", "const es_http_asset ES_HTTP_ASSETS[] = {", *rows, "    {0}};",
              f"const size_t ES_HTTP_ASSET_COUNT = {len(rows)};", ""]
    out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
