"""What each kind of fact changes in State, by what it is about; `kernel.evolve` has the table of kinds."""
