#pragma once

namespace deploy::loader {

struct Library;

// Lets the process's own unwinder walk through private code (system_unwinder.cpp has how). Done once; later calls are free. Where
// the system's libgcc does not work that way, it is left alone.
void teach_system_unwinder();

// To be called when `library` is initialised: where it is a libgcc, makes it usable by frames that another unwinder walks.
void prepare_private_unwinder(const Library& library);

}  // namespace deploy::loader
