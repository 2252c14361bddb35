"""Which mutants break which claim of docs/security.md: a row of the page, by how it begins.

A test that exists may still not bite. So each row has a deliberate fault in what stops the attack,
and the run of the mutants shows that a test of that row notices. Rows without one are in WITHOUT,
with the reason.
"""

from typing import Dict, Tuple

CLAIMS: Dict[str, Tuple[str, ...]] = {
    # vm-admin against dom0
    'arguments for QEMU beside our span': ('QEMU gets what does not fit the grammar',),
    'to have us write something else': ('anything is rendered',),
    'foreign text that, joined with ours': ('what consumers read differently is touched',
                                            'foreign text is dropped'),
    'our device twice': ('our device stays twice',),
    "another VM's number by clone": ('copies keep the number', 'a contested number is claimed'),
    'the same, with a start at once': ('a stolen number boots',),
    'a number by writing the key': ('a number that a VM bears is free',
                                    'a number in another spelling is none'),
    'a start block that looks like ours': ('every block of a start is taken for ours',
                                           'a start block is removed by its key'),
    'a name with control sequences': ('a name acts on the terminal',
                                      'a time of others acts on the terminal',
                                      'a line break of others is one'),
    'a name that a shell would run': ('a shell is started',),
    'to keep the daemon busy': ('a long value is read to its end',
                                'a value is read again at every look',
                                'a large part of an answer is decoded again for each chunk',
                                'a number of any length is read'),
    'to fill the log and the history': ('a fight goes on undamped',
                                        'a danger that comes and goes is told each time',
                                        "a new forged entry of the pool is told each time"),
    'oversized or odd fields': ('an odd record costs the whole batch',
                                'a name is as long as it likes',
                                'a log line is as long as it likes'),
    # The mirror
    'a pool-operator writes an entry': ('an unsigned entry counts where codes are demanded',),
    'one of a generation that was': ('an unsigned entry counts where codes are demanded',),
    'one that claims to be of a later version': ('a later version counts unsigned',),
    'a vm-admin gives his VM any number': ('a forged generation is gone on from',),
    'an entry is moved to another VM': ('a code holds for any record',),
    'entries are forged, cut, mixed': ('a mirror that is not complete is taken by a wiped host',
                                       'a wiped host does not look for codes'),
    'an older signed mirror is put back while': ('an older mirror is taken for a newer one',),
    "a part of the pool's entry": ('the code leaves the parts out',),
    'a complete older mirror is put back': ('a wiped master asks no other host',),
    # A guest against dom0
    'to move the VM record all the time': ('a record that is as it should be is written to',),
    'to lead the verification elsewhere': ('a domain of another VM is believed',),
    'to hold the verification up': ('a look at the host has no limit',),
    'to hold a VM start up': ('a start waits for xenstore',),
    # A bad registry file
    'values outside the allowed ones': ('any text is a vGPU pool',),
    'a trigger that swallows a change': ('what the file swallowed is believed',),
    'a view in the place of a table': ('a view passes for a table',),
    'nothing, or rubbish': ('an empty file is opened',),
    'the rows of another tool': ('a registry of others is treated as accepted',),
    # A bad answer of XAPI
    'never there, half of it': ('a call has more time than its limit',),
    'about another VM than the one': ('a record of another VM is written by the plan',),
    'a head or a chunk that costs': (
        'a line is looked through from its beginning for each piece',),
    'from an impostor on the network': ('no certificate is checked',),
    # A client of XAPI against the plugin
    'to edit the registry as a vm-operator': ('the plugin takes commands from any role',),
    'to have the master read or write': ('the plugin opens the files of the master',),
    'to have an answer count': ('an answer counts for any question',),
    'odd arguments, entities that grow': ('a call may have a document type',),
    "to pass one VM's QEMU off": ('a domain of another VM is believed',),
    'to edit the registry of a member': ('the plugin takes commands by way of TCP',),
    'to read any device of any VM': ('the plugin looks for what it is told to',),
    'to write the content of a backup': ('a backup is the result of a task',),
    "to write to root's terminal on": ('a master acts on the terminal of a member',),
    'to forge a name in the history': ('anybody is believed whom they act for',),
    # Another local user
    'to read the journal': ('the journal is readable at its birth',),
    "to hold or replace the writer's lock": ('the lock is readable for all',),
    'to read the password or a session': ('a session that was refused is shown',
                                          'a session of a call is shown',
                                          "the session stays in the plugin's arguments"),
    'to edit the registry': ('anybody may edit a new registry',),
    'to run code as root': ('the environment decides what root runs',),
    "a link where the metrics' file": ('the lock follows a link', 'a kept copy follows a link'),
    'a link, a pipe or a file': ('links and pipes of others are followed',),
    "to reach the metrics' port": ('any address is listened on',),
    'a changed package on the way': ('any wheel is taken',),
}

WITHOUT: Dict[str, str] = {
    'torn, not the protocol': 'not yet: the one that was tried in connection.py was not noticed',
    'triggers and tables named like ours': 'the journal is a database of its own, which a trigger '
                                           'cannot name: no line could be taken away',
    'a column that hides the rowid': 'rows are found by their UUID everywhere: no statement names '
                                     'the rowid',
}
