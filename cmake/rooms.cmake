# How a room, a program and a test are declared; the compiler's and sanitizers' flags live here and nowhere else.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

if(NOT ESSAIM_KERNELS_ONLY)
  pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
  pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)
  pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
  pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
  pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
  pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
  pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
  pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)
endif()

add_compile_definitions(_GNU_SOURCE ESSAIM_VERSION="${PROJECT_VERSION}")
# Exact arithmetic: no contraction of a*b+c, no reordering, ever.
add_compile_options(-ffp-contract=off -fno-math-errno)
set(ESSAIM_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror)

if(ESSAIM_SANITIZE)
  add_compile_options(-fsanitize=${ESSAIM_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ESSAIM_SANITIZE})
endif()
if(ESSAIM_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# essaim_room(NAME SOURCES a.c … [LINK lib …] [PRIVATE_LINK lib …]): a static library es_NAME. Its headers are seen as
# "room/file.h" from the folder above the room; contracts of include/essaim as "essaim/file.h".
function(essaim_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(es_${name} STATIC ${ROOM_SOURCES})
  target_include_directories(es_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${CMAKE_CURRENT_SOURCE_DIR}/..)
  target_compile_options(es_${name} PRIVATE ${ESSAIM_WARNINGS})
  target_compile_definitions(es_${name} PRIVATE ES_ROOM="${name}") # what log lines say
  target_link_libraries(es_${name} PUBLIC ${ROOM_LINK} PRIVATE ${ROOM_PRIVATE_LINK})
endfunction()

# essaim_program(NAME SOURCES … LINK …): an executable in the build folder's top.
function(essaim_program name)
  cmake_parse_arguments(PROGRAM "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${PROGRAM_SOURCES})
  target_compile_options(${name} PRIVATE ${ESSAIM_WARNINGS})
  target_link_libraries(${name} PRIVATE ${PROGRAM_LINK})
endfunction()
