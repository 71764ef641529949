"""Why a process or a container ended: the chain of causes, each step with its evidence."""
