"""The mailbox of a thread's owner, and who waits for an answer from it."""

import contextlib
from collections.abc import Iterator

import trio

from bbhost.environment.threads import mail as m
from bbhost.errors import BbhostError

CLOSING = "The thread is being stopped"


class ThreadClosingError(BbhostError):
    """The owner is about to end; whoever comes next needs a new one."""


class Mailbox:
    """Takes mail one at a time, and leaves nobody without an answer."""

    def __init__(self) -> None:
        # Capacity 0: whoever sends waits until the owner takes it, so nothing queues up here.
        self._in, self._out = trio.open_memory_channel[m.Mail](0)
        self._unanswered: set[m.Asked] = set()

    async def ask(self, mail: m.Asked) -> None:
        """Hand in something that will be answered.

        Raises:
            ThreadClosingError: nobody reads any more; ask the next owner.
        """
        self._unanswered.add(mail)
        try:
            await self._in.send(mail)
        except trio.BrokenResourceError as error:
            self._unanswered.discard(mail)
            raise ThreadClosingError(CLOSING) from error

    async def post(self, mail: m.Mail) -> None:
        """Hand in news; nothing where nobody reads any more."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self._in.send(mail)

    @contextlib.contextmanager
    def reading(self) -> Iterator[trio.MemoryReceiveChannel[m.Mail]]:
        """Read; whoever still sends when the block is left is refused."""
        with self._out:
            yield self._out

    def answered(self, mail: m.Asked) -> None:
        """This one has its answer, or is about to get it."""
        self._unanswered.discard(mail)

    def answer(self, submit: m.Submit, provider_thread_id: str, *, is_steer: bool) -> None:
        """A request was taken."""
        self.answered(submit)
        submit.reply.succeed(m.Submitted(provider_thread_id, is_steer))

    def refuse(self, submit: m.Submit, error: BbhostError) -> None:
        """A request was not taken."""
        self.answered(submit)
        submit.reply.fail(error)

    def refuse_rest(self, error: BbhostError) -> None:
        """Answer everyone who waits: requests are refused, the rest needs nothing done any more."""
        for asked in self._unanswered:
            if isinstance(asked, m.Submit):
                asked.reply.fail(error)
            else:
                asked.reply.succeed(None)
        self._unanswered.clear()
