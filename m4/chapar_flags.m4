# CHAPAR_ADD_CFLAG(VARIABLE, FLAG)
# Add FLAG to VARIABLE when the compiler takes it without a word.
AC_DEFUN([CHAPAR_ADD_CFLAG], [
	AS_VAR_PUSHDEF([cached], [chapar_cv_cflag_$2])
	AC_CACHE_CHECK([whether $CC takes $2], [cached], [
		chapar_saved_cflags=$CFLAGS
		CFLAGS="$CFLAGS $$1 -Werror $2"
		AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
			[AS_VAR_SET([cached], [yes])], [AS_VAR_SET([cached], [no])])
		CFLAGS=$chapar_saved_cflags
	])
	AS_VAR_IF([cached], [yes], [$1="$$1 $2"])
	AS_VAR_POPDEF([cached])
])

# CHAPAR_ADD_LDFLAG(VARIABLE, FLAG)
# Add FLAG to VARIABLE when a program can be linked with it.
AC_DEFUN([CHAPAR_ADD_LDFLAG], [
	AS_VAR_PUSHDEF([cached], [chapar_cv_ldflag_$2])
	AC_CACHE_CHECK([whether the linker takes $2], [cached], [
		chapar_saved_ldflags=$LDFLAGS
		LDFLAGS="$LDFLAGS -Werror $2"
		AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
			[AS_VAR_SET([cached], [yes])], [AS_VAR_SET([cached], [no])])
		LDFLAGS=$chapar_saved_ldflags
	])
	AS_VAR_IF([cached], [yes], [$1="$$1 $2"])
	AS_VAR_POPDEF([cached])
])

# CHAPAR_PACKAGE(VARIABLE, MODULE, DEBIAN-PACKAGE)
# A library by pkg-config; the error says what to install.
AC_DEFUN([CHAPAR_PACKAGE], [
	PKG_CHECK_MODULES([$1], [$2], [],
		[AC_MSG_ERROR([$2 is missing: apt-get install $3])])
])

# CHAPAR_HEADER(HEADER, DEBIAN-PACKAGE)
AC_DEFUN([CHAPAR_HEADER], [
	AC_CHECK_HEADER([$1], [],
		[AC_MSG_ERROR([<$1> is missing: apt-get install $2])])
])
