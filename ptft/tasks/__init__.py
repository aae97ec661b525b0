"""Downstream tasks: labelled data to fine-tune on and prompts to answer; a new file in this folder adds one."""

from ptft.family import Family
from ptft.tasks.prompt_task import PromptItem, PromptTask
from ptft.tasks.task import Example, Task, TaskData

TASKS: Family[type[Task]] = Family("task", "ptft.tasks", Task)
PROMPT_TASKS: Family[type[PromptTask]] = Family("prompt task", "ptft.tasks", PromptTask)

__all__ = ["PROMPT_TASKS", "TASKS", "Example", "PromptItem", "PromptTask", "Task", "TaskData"]
