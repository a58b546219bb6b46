# CPack runs this on the installed tree before it packs it.
set(share ${CPACK_TEMPORARY_DIRECTORY}${CPACK_PACKAGING_INSTALL_PREFIX}/share)
set(from ${CPACK_SANDKEY_SOURCE_DIR})

# One commit gives one package: all its times are the commit's.
if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
  execute_process(COMMAND git -C ${from} log -1 --format=%ct
                  OUTPUT_VARIABLE epoch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(epoch)
    set(ENV{SOURCE_DATE_EPOCH} ${epoch})
  endif()
endif()

# Debian's zsh looks for completions of packages in this folder only.
if(EXISTS ${share}/zsh/site-functions)
  file(RENAME ${share}/zsh/site-functions ${share}/zsh/vendor-completions)
endif()

file(MAKE_DIRECTORY ${share}/lintian/overrides ${share}/doc/sandkey)
file(COPY_FILE ${from}/cmake/debian/lintian-overrides ${share}/lintian/overrides/sandkey)

# Our changes, which CHANGELOG.md has without dates, and Debian's log of the package.
file(COPY_FILE ${from}/cmake/debian/copyright ${share}/doc/sandkey/copyright)
file(COPY_FILE ${from}/CHANGELOG.md ${share}/doc/sandkey/NEWS)
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE ${share}/doc/sandkey/changelog
"sandkey (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium

  * Built from the sources of this version; NEWS.gz tells what changed.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
execute_process(COMMAND gzip -9n ${share}/doc/sandkey/NEWS ${share}/doc/sandkey/changelog COMMAND_ERROR_IS_FATAL ANY)

# Folders come out as the umask has them, and so do the files made here.
execute_process(COMMAND find ${CPACK_TEMPORARY_DIRECTORY} -type d -exec chmod 0755 {} + COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND find ${share}/doc ${share}/lintian -type f -exec chmod 0644 {} + COMMAND_ERROR_IS_FATAL ANY)
