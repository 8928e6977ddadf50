"""Maps and sets of maps as a graph of tasks, in this process or on many machines."""
