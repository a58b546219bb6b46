# cmake -DSOURCE=worker.py -DOUTPUT=worker_source.cpp -P embed.cmake: the file as the contents of a C++ string.
file(READ ${SOURCE} text)
file(WRITE ${OUTPUT} "// Made from worker.py by embed.cmake.
#include \"sandkey/agent/python/worker_source.h\"

namespace sandkey::agent {
const std::string_view kPythonWorkerSource = R\"sandkey_python(${text})sandkey_python\";
}  // namespace sandkey::agent
")
