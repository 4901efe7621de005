"""Media types by file extension: one fixed table, the same on every machine."""

_BY_TYPE = {
    "application/gzip": "gz tgz",
    "application/java-archive": "jar",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/msword": "doc",
    "application/octet-stream": "bin exe dll so o a",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/sql": "sql",
    "application/toml": "toml",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-sh": "sh",
    "application/x-tar": "tar",
    "application/xml": "xml xsd xsl",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg oga opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jpeg": "jpg jpeg jpe",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html htm",
    "text/javascript": "js mjs cjs",
    "text/jsx": "jsx",
    "text/markdown": "md markdown",
    "text/plain": "txt text log conf ini",
    "text/tab-separated-values": "tsv",
    "text/tsx": "tsx",
    "text/typescript": "ts mts cts",
    "text/vtt": "vtt",
    "text/x-c": "c h cc cpp hpp",
    "text/x-diff": "diff patch",
    "text/x-go": "go",
    "text/x-java": "java",
    "text/x-python": "py pyi",
    "text/x-rust": "rs",
    "text/yaml": "yaml yml",
    "video/mp4": "mp4 m4v",
    "video/mpeg": "mpeg mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
}
_TYPES = {
    extension: name for name, extensions in _BY_TYPE.items() for extension in extensions.split()
}


def mime_type_of(path: str) -> str | None:
    """The media type of a file by its extension; None where the extension says nothing."""
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return _TYPES.get(extension.lower()) if dot and stem else None


def is_binary_image(mime_type: str | None) -> bool:
    """Whether files of this type are pictures that are not text (SVG is text)."""
    return (
        mime_type is not None and mime_type.startswith("image/") and mime_type != "image/svg+xml"
    )
