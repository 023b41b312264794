# What our own targets are compiled with. Nothing here reaches a consumer.
set(SPLITCNN_SANITIZE "" CACHE STRING "Sanitizers for our own targets, for example address,undefined")
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(SPLITCNN_CCACHE ccache)
  mark_as_advanced(SPLITCNN_CCACHE)
  if(SPLITCNN_CCACHE)
    # Paths in the build tree count as relative to it: so the sources it generates are known again in another one, as test/consumer's.
    set(CMAKE_CXX_COMPILER_LAUNCHER env "CCACHE_BASEDIR=${CMAKE_BINARY_DIR}" "${SPLITCNN_CCACHE}")
  endif()
endif()

# splitcnn_dev_target(target): language level, visibility, warnings, sanitizers.
function(splitcnn_dev_target target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers)
  if(SPLITCNN_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${SPLITCNN_SANITIZE} -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${SPLITCNN_SANITIZE})
  endif()
endfunction()

# splitcnn_module(name SOURCES ... LINKS ...): one folder of lib/ as an object library splitcnn_<name>.
function(splitcnn_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS" ${ARGN})
  add_library(splitcnn_${name} OBJECT ${arg_SOURCES})
  splitcnn_dev_target(splitcnn_${name})
  target_include_directories(splitcnn_${name} PUBLIC "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/lib")
  target_link_libraries(splitcnn_${name} PUBLIC ${arg_LINKS})
endfunction()
