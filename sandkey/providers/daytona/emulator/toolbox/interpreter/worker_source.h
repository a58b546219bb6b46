// The program that runs a context's cells.
#pragma once

namespace sandkey::daytona_toolbox {

extern const char* const kWorkerSource;

}  // namespace sandkey::daytona_toolbox
