# Runs one unmodified test file of SQLite's so that it suits a file system for databases:
#
#   testfixture preamble.tcl /path/of/x.test --testdir=/the/mount
#
#   LOCK_BYTES=real      SQLite's lock bytes stay where applications have them (0x40000000), though the suite asks for
#                        0x10000; stock: where the suite puts them
#   HELPER_FILES=/dir    scripts and texts that the tests write into the working folder go there rather than to the mount
#
# No test file is edited: Tcl commands are wrapped, in the main interpreter and in those that permutations.test makes.

if {![info exists preamble]} { set preamble [file normalize [info script]] }

if {$::env(LOCK_BYTES) eq "real"} {
  rename sqlite3_test_control_pending_byte put_lock_bytes
  proc sqlite3_test_control_pending_byte {offset} {
    put_lock_bytes [expr {$offset == 0x10000 ? 0x40000000 : $offset}]
  }
}

# A plain name with one of these endings is a helper file, no database.
proc helper_path {name} {
  if {[regexp {^(\./)?([^/|<>]+\.(tcl|txt|sh|sql|log|out))$} $name -> here plain]} {
    return [file join $::env(HELPER_FILES) $plain]
  }
  return $name
}
proc helper_paths {words} {
  set paths {}
  foreach word $words { lappend paths [helper_path $word] }
  return $paths
}

rename open plain_open
proc open {spec args} {
  if {[string index $spec 0] eq "|"} {
    catch { set spec "|[helper_paths [string range $spec 1 end]]" }
  } else {
    set spec [helper_path $spec]
  }
  uplevel 1 [list plain_open $spec {*}$args]
}

rename exec plain_exec
proc exec {args} { uplevel 1 [list plain_exec {*}[helper_paths $args]] }

# tester.tcl leaves its loop variable "a" behind once it is given an argument, and wal2.test wants an array of that name.
rename source plain_source
proc source {args} {
  set path [lindex $args end]
  set result [uplevel 1 [list plain_source {*}[lrange $args 0 end-1] [helper_path $path]]]
  if {[file tail $path] eq "tester.tcl" && [info exists ::a] && ![array exists ::a]} { unset ::a }
  return $result
}

# permutations.test runs each file in an interpreter of its own.
if {[info commands load_testfixture_extensions] ne ""} {
  rename load_testfixture_extensions plain_load_extensions
  proc load_testfixture_extensions {interpreter} {
    set result [plain_load_extensions $interpreter]
    interp eval $interpreter [list set preamble $::preamble]
    interp eval $interpreter [list set inner 1]
    interp eval $interpreter [list source $::preamble]
    return $result
  }
}

if {![info exists inner]} {
  set argv0 [lindex $argv 0]
  set argv [lrange $argv 1 end]
  source $argv0
}
