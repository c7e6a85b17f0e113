# The Debian package: `./dev package`. What is installed and where, and what the package says of itself.
set(ESSAIM_DEPLOY ${PROJECT_SOURCE_DIR}/deploy)
find_program(HELP2MAN help2man REQUIRED)

install(TARGETS essaim essaim-coordinator essaim-expert-node RUNTIME DESTINATION bin)
install(DIRECTORY ${ESSAIM_DEPLOY}/systemd/ DESTINATION lib/systemd/system FILES_MATCHING PATTERN "*.service" PATTERN "*.timer")
install(FILES ${ESSAIM_DEPLOY}/systemd/essaim.sysusers DESTINATION lib/sysusers.d RENAME essaim.conf)
install(FILES ${ESSAIM_DEPLOY}/systemd/essaim.tmpfiles DESTINATION lib/tmpfiles.d RENAME essaim.conf)
install(PROGRAMS ${ESSAIM_DEPLOY}/host/essaim-host-tuning ${ESSAIM_DEPLOY}/etc/etcd-snapshot ${ESSAIM_DEPLOY}/etc/etcd-restore
  DESTINATION lib/essaim)
install(FILES ${ESSAIM_DEPLOY}/host/settings DESTINATION lib/essaim)
install(DIRECTORY ${ESSAIM_DEPLOY}/examples ${ESSAIM_DEPLOY}/nftables ${ESSAIM_DEPLOY}/prometheus ${ESSAIM_DEPLOY}/grafana
  DESTINATION share/doc/essaim)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/ DESTINATION share/doc/essaim FILES_MATCHING PATTERN "*.md"
  PATTERN "architecture" EXCLUDE PATTERN "decisions" EXCLUDE)
install(FILES ${ESSAIM_DEPLOY}/package/copyright DESTINATION share/doc/essaim)
install(FILES ${ESSAIM_DEPLOY}/package/lintian-overrides DESTINATION share/lintian/overrides RENAME essaim)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/tiny-r1 DESTINATION share/essaim/models)

# gzip_file(IN OUT): as Debian wants it, without a time in it.
function(gzip_file in out)
  add_custom_command(OUTPUT ${out} COMMAND gzip -9nc ${in} > ${out} DEPENDS ${in} VERBATIM)
endfunction()

set(summary_essaim "run DeepSeek-R1 on a swarm of ordinary machines")
set(summary_essaim-coordinator "attention, routing, KV cache and the HTTP API of a swarm")
set(summary_essaim-expert-node "computes a slice of a model's routed experts")
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/man)
foreach(program essaim essaim-coordinator essaim-expert-node)
  set(page ${CMAKE_BINARY_DIR}/man/${program}.1)
  add_custom_command(OUTPUT ${page} DEPENDS ${program} VERBATIM
    COMMAND ${HELP2MAN} --no-info --version-string=${PROJECT_VERSION} --name=${summary_${program}} --output=${page} $<TARGET_FILE:${program}>)
  gzip_file(${page} ${page}.gz)
  list(APPEND pages ${page}.gz)
endforeach()
gzip_file(${ESSAIM_DEPLOY}/package/changelog ${CMAKE_BINARY_DIR}/man/changelog.gz)
add_custom_target(package_texts ALL DEPENDS ${pages} ${CMAKE_BINARY_DIR}/man/changelog.gz)
install(FILES ${pages} DESTINATION share/man/man1)
install(FILES ${CMAKE_BINARY_DIR}/man/changelog.gz DESTINATION share/doc/essaim)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME essaim)
set(CPACK_PACKAGE_VENDOR "The Essaim authors")
set(CPACK_PACKAGE_CONTACT "The Essaim authors <essaim@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "run DeepSeek-R1 on a swarm of ordinary machines")
set(CPACK_PACKAGE_DESCRIPTION "A coordinator runs attention and routing, keeps the KV cache and
serves an OpenAI-compatible API; expert nodes on commodity machines hold
and compute the routed experts. The answer has the same bits whoever
computed it. Links between machines are encrypted.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "systemd")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "etcd-server, prometheus")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${ESSAIM_DEPLOY}/package/postinst ${ESSAIM_DEPLOY}/package/prerm ${ESSAIM_DEPLOY}/package/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
include(CPack)
