"""Send the model of a finished run to the Hub of Hugging Face."""

from pathlib import Path

from huggingface_hub import HfApi, get_token, is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from ptft.config import Settings
from ptft.display import Display
from ptft.errors import DeviceError, RecipeError


class Pushed(Settings):
    """The settings of a step whose model can be sent."""

    push: str = ""
    """Send the finished run's ``model/`` to the Hub as user/name; on a finished run it does only that."""
    push_private: bool = True
    """Whether a repository that ``push`` makes is private; one that is there stays what it is."""

    def check_push(self) -> None:
        """Refuse a name that the Hub would not take, or to be offline or not logged in.

        Raises:
            RecipeError: The name is none.
            DeviceError: This machine may not go to the Hub, or has no token for it.
        """
        if not self.push:
            return
        try:
            validate_repo_id(self.push)
        except HFValidationError:
            raise RecipeError(
                f"push: {self.push!r} cannot be the name of a repository; give user/name, of letters, digits and "
                "single '-', '_', '.', at most 96 in all"
            ) from None
        if "/" not in self.push:
            raise RecipeError(f"push: {self.push!r} names no user or organisation; give user/{self.push}")
        if is_offline_mode():
            raise DeviceError(
                f"push: {self.push!r} is out of reach, since HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set; unset it, "
                "or leave push out now and give the same command with it later, which sends the finished run"
            )
        if get_token() is None:
            raise DeviceError(
                f"push: there is no token to write {self.push!r} with; type hf auth login, or set HF_TOKEN"
            )


def push_model(folder: Path, verb: str, settings: Pushed, display: Display) -> str:
    """Send ``model/`` of a run folder and return the address where it is.

    Args:
        folder: The run folder, finished.
        verb: The step that made it.
        settings: Where to.
        display: Shows that it takes its time.

    Raises:
        DeviceError: The Hub cannot be reached, or does not take it; the run folder is left as it is.
    """
    hub = HfApi()
    display.say(f"sending {folder / 'model'} to {hub.endpoint}/{settings.push}")
    try:
        url = hub.create_repo(settings.push, private=settings.push_private, exist_ok=True)
        hub.upload_folder(repo_id=settings.push, folder_path=folder / "model", commit_message="Trained with ptft")
    except Exception as error:  # of the classes of four libraries, which change from version to version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".")
        public = "" if settings.push_private else " push_private=false"
        again = f"ptft {verb} {folder / 'recipe.yaml'} out={folder} resume=true push={settings.push}{public}"
        raise DeviceError(
            f"push: {folder} is finished, but its model could not be sent to {settings.push!r} ({reason}); this "
            f"sends it again: {again}"
        ) from error
    return str(url)
