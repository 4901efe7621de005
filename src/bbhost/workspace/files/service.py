"""The host file commands: each takes its command and returns its result, or raises a fault.

One per daemon. Commands that write the same file are put in order by the dispatcher, not here.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeVar

import trio

from bbhost.contract.commands import (
    HostDeleteFileRelative,
    HostDeletePathRelative,
    HostFileMetadata,
    HostListFiles,
    HostListManagerTemplates,
    HostListPaths,
    HostReadFile,
    HostReadFileRelative,
    HostWriteFileRelative,
)
from bbhost.contract.results import (
    FileDeleted,
    FileMetadata,
    FileRead,
    FileWritten,
    FoundFile,
    FoundPath,
    HostListFilesResult,
    HostListManagerTemplatesResult,
    HostListPathsResult,
    ManagerTemplate,
    PathDeleted,
)
from bbhost.workspace.files import walking
from bbhost.workspace.files.at_ref import check_root, read_at_ref
from bbhost.workspace.files.beneath import Resolver, system_resolver
from bbhost.workspace.files.content import (
    RELATIVE_FILE_LIMIT,
    decode_content,
    encode_content,
    size_limit,
)
from bbhost.workspace.files.mime import mime_type_of
from bbhost.workspace.files.ranking import RankedPath, best_matches
from bbhost.workspace.files.reading import (
    FileFacts,
    read_file,
    read_file_relative,
    read_metadata,
)
from bbhost.workspace.files.storage import ThreadStorage
from bbhost.workspace.files.templates import read_manager_templates
from bbhost.workspace.files.walking import WalkBudget, first_paths, walk
from bbhost.workspace.files.writing import (
    delete_file_relative,
    delete_path_relative,
    write_file_relative,
)
from bbhost.workspace.git import Git

T = TypeVar("T")

FILE_THREADS = 4
"""File commands that work at a time; each may hold a whole file in memory. Further ones wait."""
WALK_THREADS = 2
"""Walks at a time. They are long, so they must not keep the quick commands waiting."""


class HostFiles:
    """Answers the host file commands."""

    def __init__(
        self,
        data_dir: Path,
        git: Git,
        storage: ThreadStorage,
        resolver: Resolver | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._git = git
        self._storage = storage
        self._resolver = resolver or system_resolver()
        self._files = trio.CapacityLimiter(FILE_THREADS)
        self._walks = trio.CapacityLimiter(WALK_THREADS)

    # --- lists ------------------------------------------------------------------------------

    async def list_files(self, command: HostListFiles) -> HostListFilesResult:
        """``host.list_files``. Cancellation: ends the walk within a few hundred entries."""
        found, truncated = await self._search(
            command.path, command.query, command.limit, files=True, directories=False
        )
        files = tuple(FoundFile(ranked.found.path, ranked.found.name) for ranked in found)
        return HostListFilesResult(files, truncated)

    async def list_paths(self, command: HostListPaths) -> HostListPathsResult:
        """``host.list_paths``. Cancellation: ends the walk within a few hundred entries."""
        found, truncated = await self._search(
            command.path,
            command.query,
            command.limit,
            files=command.include_files,
            directories=command.include_directories,
        )
        return HostListPathsResult(tuple(_found_path(ranked) for ranked in found), truncated)

    async def list_manager_templates(
        self, _command: HostListManagerTemplates
    ) -> HostListManagerTemplatesResult:
        """``host.list_manager_templates``."""
        found = await self._in_thread(lambda: read_manager_templates(self._data_dir))
        return HostListManagerTemplatesResult(
            tuple(ManagerTemplate(name) for name in found.names), found.active
        )

    # --- reading ----------------------------------------------------------------------------

    async def file_metadata(self, command: HostFileMetadata) -> FileMetadata:
        """``host.file_metadata``."""
        facts = await self._in_thread(
            lambda: read_metadata(self._resolver, command.path, command.root_path)
        )
        return FileMetadata(command.path, facts.modified_at_ms, facts.size)

    async def read_file(self, command: HostReadFile) -> FileRead:
        """``host.read_file``, from the disk or from a commit."""
        path, root_path = command.path, command.root_path
        if command.ref is not None and root_path is not None:
            await self._in_thread(lambda: check_root(root_path))
            data = await read_at_ref(self._git, root_path, path, command.ref)
            if data is None:
                return FileRead(path, "", "utf8", 0, mime_type_of(path))
            return await self._in_thread(lambda: _file_read(path, data, None))

        def read() -> FileRead:
            found = read_file(self._resolver, path, root_path, size_limit(path))
            return _file_read(path, found.data, found.facts)

        return await self._in_thread(read)

    async def read_file_relative(self, command: HostReadFileRelative) -> FileRead:
        """``host.read_file_relative``."""

        def read() -> FileRead:
            found = read_file_relative(
                self._resolver,
                command.root_path,
                command.path,
                dotfiles=command.dotfiles == "allow",
                limit=RELATIVE_FILE_LIMIT,
            )
            return _file_read(command.path, found.data, found.facts)

        return await self._in_thread(read)

    # --- writing ----------------------------------------------------------------------------

    async def write_file_relative(self, command: HostWriteFileRelative) -> FileWritten:
        """``host.write_file_relative``. Cancellation: the file is old or new, never half."""

        def write() -> FileWritten:
            data = decode_content(command.content, command.content_encoding)
            self._storage.check_not_deleted(command.root_path)
            written = write_file_relative(
                command.root_path, command.path, data, dotfiles=command.dotfiles == "allow"
            )
            return FileWritten(command.path, written.sha256, written.modified_at_ms, written.size)

        return await self._in_thread(write)

    async def delete_file_relative(self, command: HostDeleteFileRelative) -> FileDeleted:
        """``host.delete_file_relative``."""
        deleted = await self._in_thread(
            lambda: delete_file_relative(
                self._resolver,
                command.root_path,
                command.path,
                dotfiles=command.dotfiles == "allow",
            )
        )
        return FileDeleted(command.path, deleted.deleted, deleted.previous_sha256)

    async def delete_path_relative(self, command: HostDeletePathRelative) -> PathDeleted:
        """``host.delete_path_relative``. Cancellation: part of a directory may be left."""
        deleted = await self._in_thread(
            lambda: delete_path_relative(
                self._resolver,
                command.root_path,
                command.path,
                dotfiles=command.dotfiles == "allow",
                check=trio.from_thread.check_cancelled,
            )
        )
        return PathDeleted(command.path, deleted)

    # --- how --------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._files)

    async def _search(
        self, path: str, query: str | None, limit: int, *, files: bool, directories: bool
    ) -> tuple[list[RankedPath], bool]:
        def wanted(found: walking.FoundPath) -> bool:
            return directories if found.is_directory else files

        def search() -> tuple[list[RankedPath], bool]:
            budget = WalkBudget(check=trio.from_thread.check_cancelled)
            if query is None or not query.strip():
                first, more = first_paths(path, wanted, limit, budget)
                return [RankedPath(found, 0) for found in first], more
            with closing(walk(path, budget)) as paths:
                ranked, more = best_matches(filter(wanted, paths), query, limit)
            return ranked, more or budget.exhausted

        return await trio.to_thread.run_sync(search, limiter=self._walks)


def _file_read(path: str, data: bytes, facts: FileFacts | None) -> FileRead:
    content, encoding = encode_content(path, data)
    return FileRead(
        path,
        content,
        encoding,
        len(data),
        mime_type_of(path),
        None if facts is None else facts.modified_at_ms,
    )


def _found_path(ranked: RankedPath) -> FoundPath:
    found = ranked.found
    kind: Literal["directory", "file"] = "directory" if found.is_directory else "file"
    return FoundPath(kind, found.path, found.name, ranked.score, ranked.positions)
