# One unit of Redis' own test suite against a server that runs already:
#     tclsh unit.tcl HOST PORT UNIT TAGS one|cluster [SKIPPED TEST]...
# started in the folder that holds Redis' tests/. Prints an event a line, fields separated by tabs:
#     @ testing|ok|err|ignore|skip|exception|done NAME DETAILS
#
# The suite's own runner gives up the whole run at the first exception, so its main part is left out here.

lassign $argv host port unit tags home
set skipped [lrange $argv 5 end]

# Its options are read while it is loaded. `durable` turns exceptions into failures of one test.
set argv [list --host $host --port $port --durable --tags $tags]
if {$home eq "cluster"} { lappend argv --cluster-mode }
foreach name $skipped {
    lappend argv --skiptest $name
}
set file [open tests/test_helper.tcl]
set helper [read $file]
close $file
eval [string range $helper 0 [string last "if {\$::client} {" $helper]-1]

set ::test_server_fd stdout
set ::suite_test ""
set ::suite_hello ""

proc suite_field {text} {
    string map {\\ \\\\ \n \\n \r \\r \t \\t} $text
}

# What the suite tells its runner. A failure's text begins with its test's name, and lies outside of any test if a
# prelude failed.
proc send_data_packet {fd status data {elapsed 0}} {
    set details ""
    switch $status {
        testing { set ::suite_test $data }
        err {
            set details $data
            set data $::suite_test
            set ::suite_test ""
        }
        ok { set ::suite_test "" }
    }
    puts stdout "\n@\t$status\t[suite_field $data]\t[suite_field $details]"
    flush stdout
}

# The connection of a test that failed may be in the middle of anything: the next test gets a new one, which speaks
# the protocol that was in force when the test began.
rename test suite_run_test
proc test {name code {okpattern undefined} {tags {}}} {
    set failed $::num_failed
    set hello $::suite_hello
    uplevel 1 [list suite_run_test $name $code $okpattern $tags]
    if {$::num_failed > $failed} {
        catch {reconnect}
        set ::suite_hello $hello
        if {$hello ne ""} { catch {r hello $hello} }
        # It may have left behind a script or a pause without an end, which is not to be all the following tests'
        # failure.
        catch {r client unpause}
        catch {r script kill}
        catch {r function kill}
    }
}

rename r suite_r
proc r {args} {
    if {[string equal -nocase [lindex $args 0] hello]} { set ::suite_hello [lindex $args 1] }
    uplevel 1 [list suite_r {*}$args]
}

if {[catch {execute_test_file $unit} error]} {
    send_data_packet stdout exception $error $::errorInfo
    exit 1
}
