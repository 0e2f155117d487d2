"""A conversation: the model, the settings of the next answer, and what was said."""

from typing import TYPE_CHECKING

from minigpt.cli.loading import Loading
from minigpt.settings import ChatSettings, Settings

if TYPE_CHECKING:
    from minigpt.services.chat import Answer, ChatSession


class Conversation:
    """What the questions and commands of one person share.

    Attributes:
        settings: Those of the next answer.
        loading: The first model.
        force: Whether a picture may replace a file.
        question: The latest one; empty before there is one.
        last: The latest answer of the present model; None before there is one.
        answers: What `/save` saves.
    """

    def __init__(
        self, settings: Settings, loading: "Loading[ChatSession]", *, force: bool = False
    ) -> None:
        self.settings = settings
        self.loading = loading
        self.force = force
        self.question = ""
        self.last: Answer | None = None
        self.answers: list[Answer] = []
        self._session: ChatSession | None = None
        self._heard_under = settings.chat
        self._reseeded = False

    @property
    def session(self) -> "ChatSession":
        """The model, waited for if need be, under the settings of now."""
        if self._session is None:
            self._session = self.loading.get()
        if self._session.settings != self.settings.chat or self._reseeded:
            self._session.configure(self.settings.chat, reseed=self._reseeded)
            self._reseeded = False
        return self._session

    @property
    def is_settled(self) -> bool:
        """Whether the latest question would be given the same answer again, whatever the seed."""
        if self.last is None or self.last.stop_reason == "interrupted":
            return False
        unseeded = {"seed": -1, "stats": False}
        now = self.settings.chat.model_copy(update=unseeded)
        return self.session.is_greedy and now == self._heard_under.model_copy(update=unseeded)

    def change(self, chat: ChatSettings, *, reseed: bool = False) -> None:
        """Draw the next answers by other settings; `reseed` begins at their seed."""
        self.settings = self.settings.model_copy(update={"chat": chat})
        self._reseeded = self._reseeded or reseed

    def switch(self, session: "ChatSession") -> None:
        """Go on with another model; its first answer is still to come."""
        self._session = session
        self.change(session.settings)
        self.last = None

    def heard(self, answer: "Answer", *, again: bool) -> None:
        """Take note of an answer; one that was stopped by hand is nothing to save.

        Args:
            answer: The latest.
            again: Whether it takes the place of the one before.
        """
        self.last, self._heard_under = answer, self.settings.chat
        if answer.stop_reason == "interrupted":
            return
        if again and self.answers:
            self.answers.pop()
        self.answers.append(answer)
