// Nothing: what it is compiled for is the headers (sandkey_precompile() in sandkey.cmake).
