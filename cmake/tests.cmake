# How tests are declared: each is a process with a timeout, a label and a name that is a sentence.
if(ESSAIM_KERNELS_ONLY)
  add_library(cmocka_stand_in INTERFACE)
  target_include_directories(cmocka_stand_in INTERFACE ${PROJECT_SOURCE_DIR}/tests/stand_in)
  add_library(PkgConfig::CMOCKA ALIAS cmocka_stand_in)
else()
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
find_program(PYTHON3 python3 REQUIRED)

# What the sanitizers' runtimes are told, for every test: the one place where it stands.
set(ESSAIM_TEST_ENVIRONMENT "")
if(ESSAIM_SANITIZE)
  set(ESSAIM_TEST_ENVIRONMENT
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1")
endif()

# Labels say what kind a test is: unit, golden, integration, client. Beside it: threads (also run under ThreadSanitizer), slow (release only).

# essaim_unit_test(FILE.c "a sentence" LINK room … [TIMEOUT s] [LABEL kind …]): a cmocka program.
function(essaim_unit_test source sentence)
  cmake_parse_arguments(TEST "" "TIMEOUT" "LINK;LABEL" ${ARGN})
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 60)
  endif()
  if(NOT TEST_LABEL)
    set(TEST_LABEL unit)
  endif()
  get_filename_component(stem ${source} NAME_WE)
  add_executable(${stem} ${source})
  target_compile_options(${stem} PRIVATE ${ESSAIM_WARNINGS})
  target_compile_definitions(${stem} PRIVATE ESSAIM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_include_directories(${stem} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${stem} PRIVATE ${TEST_LINK} PkgConfig::CMOCKA)
  set_target_properties(${stem} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME "${sentence}" COMMAND ${stem})
  set_tests_properties("${sentence}" PROPERTIES TIMEOUT ${TEST_TIMEOUT} LABELS "${TEST_LABEL}"
    ENVIRONMENT "${ESSAIM_TEST_ENVIRONMENT}")
endfunction()

# essaim_script_test("a sentence" COMMAND … [TIMEOUT s] LABEL kind …): any other process; ESSAIM_BUILD names
# the build folder, ESSAIM_SOURCE the project.
function(essaim_script_test sentence)
  cmake_parse_arguments(TEST "" "TIMEOUT" "COMMAND;LABEL" ${ARGN})
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 120)
  endif()
  add_test(NAME "${sentence}" COMMAND ${TEST_COMMAND})
  set_tests_properties("${sentence}" PROPERTIES TIMEOUT ${TEST_TIMEOUT} LABELS "${TEST_LABEL}"
    ENVIRONMENT "ESSAIM_BUILD=${CMAKE_BINARY_DIR};ESSAIM_SOURCE=${PROJECT_SOURCE_DIR};${ESSAIM_TEST_ENVIRONMENT}")
endfunction()

# essaim_fuzzer(FILE.c LINK room …): a libFuzzer harness, built by the fuzz preset only.
function(essaim_fuzzer source)
  cmake_parse_arguments(FUZZ "" "" "LINK" ${ARGN})
  get_filename_component(stem ${source} NAME_WE)
  add_executable(${stem} ${source})
  target_compile_options(${stem} PRIVATE ${ESSAIM_WARNINGS} -fsanitize=fuzzer)
  target_link_options(${stem} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${stem} PRIVATE ${FUZZ_LINK})
  set_target_properties(${stem} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()
