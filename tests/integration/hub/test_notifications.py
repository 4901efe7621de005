"""What listeners of the notification socket hear."""

import httpx
import trio

from bbhost.hub.run import HubAddress
from bbhost.hub.services.outbox import Closing, Outbox
from tests.fakes.contract_daemon import ContractDaemon, open_socket
from tests.integration.hub.test_environments import make_ready


def token_of(hub: HubAddress) -> list[tuple[str, str]]:
    """Return the header that lets a listener in."""
    return [("Authorization", f"Bearer {hub.token}")]


async def test_listeners_hear_of_hosts_states_progress_and_changes(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """In order, and after the state they tell of can be read."""
    async with open_socket(hub.url, "/api/v1/ws", (), token_of(hub)) as listener:
        assert (await listener.receive()) == {"type": "hello"}
        async with daemon.connected():
            heard = await listener.receive()
            assert heard == {"type": "host", "hostId": daemon.host_id, "status": "connected"}
            created = await api.post(
                "/environments", json={"workspace": {"workspaceProvisionType": "personal"}}
            )
            environment_id = created.json()["id"]
            heard = await listener.receive()
            assert heard["type"] == "environment-state"
            assert heard["environment"]["state"] == "provisioning"

            command = (await daemon.next_command())["command"]
            initiator = command["initiator"]
            event = {
                "type": "system/thread-provisioning",
                "threadId": initiator["threadId"],
                "scope": {"kind": "thread"},
                "provisioningId": initiator["provisioningId"],
                "status": "active",
                "environmentId": environment_id,
                "entries": [{"type": "step", "key": "k", "text": "Creating"}],
            }
            posted = await daemon.post_in_session(
                "events",
                {
                    "events": [
                        {
                            "producerEventId": "hdevt_" + "a" * 20,
                            "threadId": initiator["threadId"],
                            "event": event,
                        }
                    ]
                },
            )
            assert len(posted.json()["acceptedEvents"]) == 1
            heard = await listener.receive()
            assert heard["type"] == "provisioning"
            assert heard["entries"] == event["entries"]
            assert (await listener.receive())["type"] == "thread-events"
            transcript = (await api.get(f"/environments/{environment_id}/transcript")).json()
            assert transcript["entries"] == event["entries"]

            change = {"environmentId": environment_id, "change": "work-status-changed"}
            await daemon.post_in_session("environment-change", change)
            assert (await listener.receive()) == {"type": "environment-change", **change}
        heard = await listener.receive()
        assert heard == {"type": "host", "hostId": daemon.host_id, "status": "disconnected"}


async def test_a_listener_does_not_talk(hub: HubAddress) -> None:
    """Any message closes its socket."""
    async with open_socket(hub.url, "/api/v1/ws", (), token_of(hub)) as listener:
        await listener.connection.send_message("{}")
        assert await listener.wait_closed() == (1008, "invalid-message")


async def test_a_streamed_transcript_is_not_doubled_by_the_result(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """The result's transcript counts only where nothing was streamed."""
    async with daemon.connected():
        environment = await make_ready(api, daemon)
        path = f"/environments/{environment['id']}/transcript"
        assert len((await api.get(path)).json()["entries"]) == 1


async def test_an_outbox_is_cut_at_its_bound_and_delivers_before_a_close() -> None:
    """Too much: what waits is dropped and the socket is to be closed with 1013."""
    outbox: Outbox[str] = Outbox(10, len)
    assert outbox.put("a" * 50)
    assert await outbox.take() == "a" * 50
    assert outbox.put("b" * 6)
    assert not outbox.put("c" * 6)
    assert await outbox.take() == Closing(1013, "too-slow")
    polite: Outbox[str] = Outbox(10)
    polite.put("x")
    polite.finish(1001, "bye")
    polite.finish(1000)
    assert not polite.put("y")
    assert await polite.take() == "x"
    assert await polite.take() == Closing(1001, "bye")
    with trio.fail_after(1):
        await polite.wait_drained()
