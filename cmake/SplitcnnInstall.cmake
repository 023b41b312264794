# Install rules: library, headers, CMake package, pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# splitcnn_install(target component): installs one linkage of the library with its package files. The component of the
# library people install is `splitcnn`; the tests install the other linkage of the same objects under their own.
function(splitcnn_install target component)
  get_target_property(type ${target} TYPE)
  string(COMPARE EQUAL "${type}" SHARED_LIBRARY SPLITCNN_SHARED)
  set(exclude "")
  set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/splitcnn")
  if(NOT component STREQUAL "splitcnn")
    set(exclude EXCLUDE_FROM_ALL)
    string(APPEND package_dir "-${component}")  # CMake keeps generated export files by destination; find_package looks here, too
  endif()
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/package-${component}")

  install(TARGETS ${target} EXPORT ${component}Targets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component} NAMELINK_COMPONENT ${component} ${exclude}
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component} ${exclude}
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT ${component} ${exclude})
  install(EXPORT ${component}Targets FILE splitcnnTargets.cmake NAMESPACE splitcnn::
    DESTINATION "${package_dir}" COMPONENT ${component} ${exclude})

  configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/splitcnnConfig.cmake.in" "${generated}/splitcnnConfig.cmake"
    INSTALL_DESTINATION "${package_dir}")
  write_basic_package_version_file("${generated}/splitcnnConfigVersion.cmake"
    VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
  install(FILES "${generated}/splitcnnConfig.cmake" "${generated}/splitcnnConfigVersion.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/FindDNNL.cmake" DESTINATION "${package_dir}" COMPONENT ${component} ${exclude})

  set(SPLITCNN_PC_PRIVATE "-ldnnl -lprotobuf-lite -lgomp -lpthread")
  set(SPLITCNN_PC_LIBS "")
  if(NOT SPLITCNN_SHARED)
    set(SPLITCNN_PC_LIBS " ${SPLITCNN_PC_PRIVATE}")
    set(SPLITCNN_PC_PRIVATE "")
  endif()
  file(RELATIVE_PATH SPLITCNN_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/splitcnn.pc.in" "${generated}/splitcnn.pc" @ONLY)
  install(FILES "${generated}/splitcnn.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT ${component} ${exclude})
endfunction()
