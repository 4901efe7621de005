"""Public operations on hosts and their files."""

from typing import ClassVar

from attrs import frozen

from bbhost.contract.commands import (
    HostFileMetadata,
    HostListBranches,
    HostListFiles,
    HostListPaths,
    HostReadFile,
    ProviderList,
    ProviderListModels,
)
from bbhost.contract.fields import BranchLimit, BranchName, FileLimit, NonEmpty, Query
from bbhost.contract.results import (
    FileMetadata,
    FileRead,
    HostListFilesResult,
    HostListPathsResult,
    ProjectSourceCheckout,
    ProviderListModelsResult,
    ProviderListResult,
)
from bbhost.contract.wire import absent
from bbhost.hub.api.hosts import Acknowledgement, Host, HostList, JoinRequest, JoinResponse
from bbhost.hub.http.operations import CREATED, DAEMON_ERRORS, Call, Operation
from bbhost.hub.services.hosts import Hosts
from bbhost.hub.services.queue import CommandQueue

DEFAULT_LIMIT = 1_000
HOSTS = "/api/v1/hosts"
HOST = "/api/v1/hosts/{host_id}"


@frozen
class FileQuery:
    """Which file of the host; ``ref`` reads it from a commit of the repository at ``rootPath``."""

    STRICT: ClassVar[bool] = True
    path: NonEmpty
    root_path: NonEmpty | None = absent()
    ref: NonEmpty | None = absent()


@frozen
class MetadataQuery:
    """Which file of the host."""

    path: NonEmpty
    root_path: NonEmpty | None = absent()


@frozen
class FilesQuery:
    """Where to look, for what, and for how much."""

    path: NonEmpty
    query: Query | None = absent()
    limit: FileLimit | None = absent()


@frozen
class PathsQuery:
    """Where to look, for what, and for how much."""

    path: NonEmpty
    query: Query | None = absent()
    limit: FileLimit | None = absent()
    files: bool | None = absent()
    directories: bool | None = absent()


@frozen
class BranchesQuery:
    """Which checkout of the host, and which of its branches."""

    path: NonEmpty
    query: Query | None = absent()
    selected_branch: BranchName | None = absent()
    limit: BranchLimit | None = absent()


def host_operations(hosts: Hosts) -> tuple[Operation, ...]:
    """Return the operations on hosts."""

    async def join(call: Call) -> object:
        return await hosts.join(call.body)

    async def cancel(call: Call) -> object:
        await hosts.cancel_join(call.path["host_id"])
        return Acknowledgement()

    async def list_hosts(_call: Call) -> object:
        return await hosts.list()

    async def get(call: Call) -> object:
        return await hosts.get(call.path["host_id"])

    return (
        Operation(
            "POST", f"{HOSTS}/join", "joinHost", "Make a key with which a daemon may enrol",
            join, JoinResponse, status=CREATED, body=JoinRequest,
        ),
        Operation(
            "DELETE", f"{HOST}/join", "cancelJoin", "Make a host's enroll keys useless",
            cancel, Acknowledgement,
        ),
        Operation("GET", HOSTS, "listHosts", "List hosts", list_hosts, HostList),
        Operation("GET", HOST, "getHost", "Show a host", get, Host),
    )  # fmt: skip


def host_file_operations(hosts: Hosts, queue: CommandQueue) -> tuple[Operation, ...]:
    """Return the operations that a host's daemon answers from its disk."""

    async def ask(call: Call, command: object) -> object:
        host = await hosts.get(call.path["host_id"])
        return await queue.ask(host.id, command)

    async def files(call: Call) -> object:
        query: FilesQuery = call.query
        limit = query.limit or DEFAULT_LIMIT
        return await ask(call, HostListFiles(query.path, limit, query.query))

    async def paths(call: Call) -> object:
        query: PathsQuery = call.query
        wants_files = query.files if query.files is not None else True
        wants_directories = query.directories if query.directories is not None else True
        limit = query.limit or DEFAULT_LIMIT
        return await ask(
            call, HostListPaths(query.path, limit, wants_files, wants_directories, query.query)
        )

    async def read(call: Call) -> object:
        query: FileQuery = call.query
        return await ask(call, HostReadFile(query.path, query.root_path, query.ref))

    async def metadata(call: Call) -> object:
        return await ask(call, HostFileMetadata(call.query.path, call.query.root_path))

    async def branches(call: Call) -> object:
        query: BranchesQuery = call.query
        limit = query.limit or DEFAULT_LIMIT
        return await ask(
            call, HostListBranches(query.path, limit, query.query, query.selected_branch)
        )

    async def providers(call: Call) -> object:
        return await ask(call, ProviderList())

    async def models(call: Call) -> object:
        return await ask(call, ProviderListModels(call.path["provider_id"]))

    return (
        Operation(
            "GET", f"{HOST}/files", "listFiles", "Find files below a directory of the host",
            files, HostListFilesResult, query=FilesQuery, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{HOST}/paths", "listPaths", "Find files and directories of the host",
            paths, HostListPathsResult, query=PathsQuery, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{HOST}/file", "readFile", "Read a file of the host",
            read, FileRead, query=FileQuery, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{HOST}/file-metadata", "getFileMetadata", "Tell size and time of a file",
            metadata, FileMetadata, query=MetadataQuery, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{HOST}/branches", "listBranches", "List the branches of a checkout",
            branches, ProjectSourceCheckout, query=BranchesQuery, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{HOST}/providers", "listProviders", "List the agent providers of the host",
            providers, ProviderListResult, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{HOST}/providers/{{provider_id}}/models", "listModels",
            "List the models of a provider", models, ProviderListModelsResult,
            errors=DAEMON_ERRORS,
        ),
    )  # fmt: skip
